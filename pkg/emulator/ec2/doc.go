// Package ec2 answers the EC2 actions that disks need, with AWS's rules, codes and texts, over the emulator's state;
// it knows neither HTTP nor signatures nor devices.
//
// Rules and shapes follow https://docs.aws.amazon.com/AWSEC2/latest/APIReference/Welcome.html,
// error codes https://docs.aws.amazon.com/AWSEC2/latest/APIReference/errors-overview.html.
package ec2
