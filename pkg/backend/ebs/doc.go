// Package ebs is the backend for Amazon EBS volumes: what to create, when to
// delete, how to attach, and what EC2's answers prove. It knows EC2 only through
// the plain values of pkg/cloud/ec2 and nothing of CSI, BOSH or Kubernetes.
package ebs
