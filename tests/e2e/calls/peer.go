// The same as peer.py, by google.golang.org/grpc: `peer call HOST`.
package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"io/ioutil"
	"os"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
)

type asIs struct{}

func (asIs) Marshal(v interface{}) ([]byte, error)      { return *v.(*[]byte), nil }
func (asIs) Unmarshal(data []byte, v interface{}) error { *v.(*[]byte) = append([]byte(nil), data...); return nil }
func (asIs) Name() string                               { return "proto" }

var pieces = [][]byte{[]byte("one"), []byte("two"), bytes.Repeat([]byte("three"), 3000)}

func stream(connection *grpc.ClientConn, ctx context.Context, name string, messages [][]byte) ([][]byte, error) {
	s, err := connection.NewStream(ctx, &grpc.StreamDesc{ServerStreams: true, ClientStreams: true}, "/t.T/"+name)
	if err != nil {
		return nil, err
	}
	for i := range messages {
		if err := s.SendMsg(&messages[i]); err != nil && err != io.EOF {
			return nil, err
		}
	}
	s.CloseSend()
	var got [][]byte
	for {
		var message []byte
		if err := s.RecvMsg(&message); err == io.EOF {
			return got, nil
		} else if err != nil {
			return nil, err
		}
		got = append(got, message)
	}
}

func main() {
	connection, err := grpc.Dial(os.Args[2]+":443", grpc.WithTransportCredentials(credentials.NewTLS(&tls.Config{})),
		grpc.WithDefaultCallOptions(grpc.ForceCodec(asIs{})))
	if err != nil {
		panic(err)
	}
	hello, joined := []byte("hello"), bytes.Join(pieces, nil)
	kinds := []func(context.Context) (bool, error){
		func(ctx context.Context) (bool, error) {
			var got []byte
			err := connection.Invoke(ctx, "/t.T/Unary", &hello, &got)
			return bytes.Equal(got, hello), err
		},
		func(ctx context.Context) (bool, error) {
			got, err := stream(connection, ctx, "Collect", pieces)
			return bytes.Equal(bytes.Join(got, nil), joined), err
		},
		func(ctx context.Context) (bool, error) {
			got, err := stream(connection, ctx, "Spread", [][]byte{hello})
			return len(got) == 5 && bytes.Equal(bytes.Join(got, nil), hello), err
		},
		func(ctx context.Context) (bool, error) {
			got, err := stream(connection, ctx, "Talk", pieces)
			return len(got) == 3 && bytes.Equal(bytes.Join(got, nil), joined), err
		},
	}
	counts, total, over := map[string]int{}, 0, make(chan bool)
	var lock sync.Mutex
	var all sync.WaitGroup
	for _, kind := range kinds {
		all.Add(1)
		go func(kind func(context.Context) (bool, error)) {
			defer all.Done()
			for {
				select {
				case <-over:
					return
				default:
				}
				ctx, cancel := context.WithTimeout(metadata.AppendToOutgoingContext(context.Background(), "authorization", "Bearer placeholder"), time.Minute)
				good, err := kind(ctx)
				cancel()
				word := "WRONG"
				if err != nil {
					word = status.Code(err).String() + " " + err.Error()
				} else if good {
					word = "OK"
				}
				lock.Lock()
				counts[word]++
				total++
				if total%20 == 0 {
					fmt.Println("calls", total)
				}
				lock.Unlock()
			}
		}(kind)
	}
	ioutil.ReadAll(os.Stdin)
	close(over)
	all.Wait()
	text, _ := json.Marshal(counts)
	fmt.Println(string(text))
}
