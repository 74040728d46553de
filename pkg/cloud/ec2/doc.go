// Package ec2 is the narrow client of Amazon EC2's volumes, snapshots and
// attachments. It speaks plain values, shares reads through batchers that one bad
// id cannot spoil, and knows when absence is proof. It knows no policy: what to
// create, delete or attach is decided by its callers.
package ec2
