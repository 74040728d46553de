// Command aws-cpi is the double of the AWS CPI's executable: aws-cpi CONFIG, JSON on stdin and stdout.
package main

import (
	"context"
	"fmt"
	"os"

	"github.com/diskbridge/diskbridge/tests/doubles/awscpi"
)

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: aws-cpi CONFIG")
		os.Exit(2)
	}
	if err := awscpi.Serve(context.Background(), os.Args[1], os.Stdin, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
