// Signalbox is a QUIC media relay, a Kademlia node and the console from which
// an operator watches and steers both.
package main

import (
	"context"
	"os"

	"github.com/spf13/cobra"

	"signalbox/engine/bench"
	"signalbox/engine/cli"
	"signalbox/engine/sim"
)

func main() {
	os.Exit(cli.Execute(context.Background(), os.Args[1:], cli.IO{
		In: os.Stdin, Out: os.Stdout, Err: os.Stderr, Env: os.Environ(),
		Extra: []*cobra.Command{sim.Command(), bench.Command()},
	}))
}
