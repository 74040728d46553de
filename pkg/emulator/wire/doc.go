// Package wire reads and writes AWS's protocols: EC2 Query, XML and JSON 1.1 bodies, error bodies and signatures;
// it knows no service and keeps no state but the credentials it checks with.
package wire
