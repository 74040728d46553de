// Command guest is the first process of a User Mode Linux: it runs the tests of pkg/mount and reports each. It must not know
// what they test.
package main
