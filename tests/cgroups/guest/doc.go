// Command guest is the first process of a User Mode Linux: it starts mounters as container runtimes and systemd do, and takes
// memory from the programs that they start. It must not know how the mounter divides memory.
package main
