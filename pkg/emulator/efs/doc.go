// Package efs answers Amazon EFS's REST JSON actions over the store; it knows no transport and no client.
package efs
