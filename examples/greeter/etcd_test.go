package main

import (
	"net"
	"strings"
	"testing"
)

// The next terminal's -serve has to learn where the first one's cluster meets.
func TestTakenAddressTellsHowToJoin(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	address := taken.Addr().String()
	_, _, err = settings{}.openEtcd(t.Context(), address)
	if want := "if another greeter runs there, join it with -etcd http://" + address; err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("the error is %v; want %q", err, want)
	}
}
