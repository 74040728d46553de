// Package inside is for the first process of a virtual machine: it makes a machine of a bare kernel, and networks and NFS
// servers within. It knows Linux only.
package inside
