package main

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"os"
	"sync/atomic"

	"github.com/eclipse/paho.golang/paho"
)

// runReader subscribes to everything at the broker with that address. For each line of its input it prints how many
// messages have come so far.
func runReader(ctx context.Context, address string) error {
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", address)
	if err != nil {
		return err
	}
	defer conn.Close()
	var n atomic.Uint64
	c := paho.NewClient(paho.ClientConfig{
		ClientID: "reader", Conn: conn,
		OnPublishReceived: []func(paho.PublishReceived) (bool, error){func(paho.PublishReceived) (bool, error) { n.Add(1); return true, nil }},
	})
	if _, err := c.Connect(ctx, &paho.Connect{ClientID: "reader", KeepAlive: 60, CleanStart: true}); err != nil {
		return err
	}
	if _, err := c.Subscribe(ctx, &paho.Subscribe{Subscriptions: []paho.SubscribeOptions{{Topic: "#"}}}); err != nil {
		return err
	}
	fmt.Println("READS")
	for s := bufio.NewScanner(os.Stdin); s.Scan(); {
		fmt.Println("COUNT", n.Load())
	}
	return nil
}
