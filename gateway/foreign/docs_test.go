package foreign

import (
	"context"
	"iter"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	greeterv1 "github.com/cajun-go/cajun/examples/gen/greeter/v1"
	"github.com/cajun-go/cajun/examples/gen/greeter/v1/greeterv1cajun"
	"github.com/cajun-go/cajun/gateway"
	cajun "github.com/cajun-go/cajun/runtime"
)

// greeter is the actor that docs/gateway.md calls.
type greeter struct {
	key       string
	count     uint64
	greetings cajun.Topic[*greeterv1.WatchResponse]
	// watched gets a token for each stream that is open.
	watched chan<- struct{}
}

func (g *greeter) Greet(ctx context.Context, r *greeterv1.GreetRequest) (*greeterv1.GreetResponse, error) {
	g.count++
	greeting := "Hello " + r.GetName() + ", this is " + g.key + "."
	return &greeterv1.GreetResponse{Greeting: greeting}, g.greetings.Publish(ctx, &greeterv1.WatchResponse{Greeting: greeting, Greetings: g.count})
}

func (g *greeter) Watch(ctx context.Context, _ *greeterv1.WatchRequest) (iter.Seq2[*greeterv1.WatchResponse, error], error) {
	g.watched <- struct{}{}
	return g.greetings.Subscribe(ctx), nil
}

func (g *greeter) Tally(context.Context, *greeterv1.TallyRequest) (*greeterv1.TallyResponse, error) {
	return &greeterv1.TallyResponse{Node: "tallied by " + g.key}, nil
}

func (g *greeter) Wave(context.Context, *greeterv1.WaveRequest) error { return nil }

// blocks are the blocks of docs/gateway.md in one language, with the address of a
// gateway that is there.
func blocks(t *testing.T, language, address string) (all []string) {
	t.Helper()
	document, err := os.ReadFile(filepath.Join(root, "docs", "gateway.md"))
	if err != nil {
		t.Fatal(err)
	}
	for _, part := range strings.Split(string(document), "\n```"+language+"\n")[1:] {
		block, _, _ := strings.Cut(part, "\n```\n")
		all = append(all, strings.ReplaceAll(block, "127.0.0.1:8080", address))
	}
	return all
}

// documented starts an office with a greeter, and returns the address of its
// gateway. The function that it returns waits for a stream of bob's and greets him.
func documented(t *testing.T) (address string, greet func()) {
	t.Helper()
	o := open(t)
	watched := make(chan struct{}, 100)
	i := o.Add(gateway.With("127.0.0.1:0"), greeterv1cajun.HostGreeter(func(self *cajun.Self, _ *greeterv1.GreeterState) (*greeter, error) {
		return &greeter{key: self.Key(), watched: watched}, nil
	}))
	return host(o.base(t, i)), func() {
		ctx := bounded(t)
		select {
		case <-watched:
		case <-ctx.Done():
			t.Fatal("nobody watches")
		}
		if _, err := greeterv1cajun.NewGreeterPid(o.Client(), "bob").Greet(ctx, &greeterv1.GreetRequest{Name: "Eve"}); err != nil {
			t.Fatal(err)
		}
	}
}

// TestDocumentedCommands types the commands of docs/gateway.md.
func TestDocumentedCommands(t *testing.T) {
	bin := t.TempDir()
	for name, path := range map[string]string{"curl": program(t, "curl"), "grpcurl": tool(t, "grpcurl"), "buf": tool(t, "buf")} {
		if err := os.Symlink(path, filepath.Join(bin, name)); err != nil {
			t.Fatal(err)
		}
	}
	t.Setenv("PATH", bin+string(filepath.ListSeparator)+os.Getenv("PATH"))
	sh := program(t, "sh")
	address, greet := documented(t)
	typed := 0
	for _, block := range blocks(t, "sh", address) {
		for command := range strings.Lines(block) {
			typed++
			switch {
			case strings.Contains(command, "bank.v1"): // the README has that actor
				typed--
			case strings.Contains(command, "Watch"):
				p := launch(t, "", sh, "-c", command)
				greet()
				p.await("Hello Eve, this is bob.")
				p.kill()
			default:
				out := output(t, sh, "-e", "-c", command)
				if !strings.Contains(out, "Hello Ann, this is bob.") && !strings.Contains(out, "tallied by bob") && !strings.Contains(out, `"SERVING"`) && !strings.HasPrefix(out, "desk.v1.Desk\n") {
					t.Errorf("%s: %s", command, out)
				}
			}
		}
	}
	if typed < 10 {
		t.Errorf("only %d commands were typed", typed)
	}
}

// TestDocumentedTypeScript runs what docs/gateway.md has in TypeScript, as one
// program, under Node.
func TestDocumentedTypeScript(t *testing.T) {
	node, dir := program(t, "node", "nodejs"), javascript(t)
	address, greet := documented(t)
	code := strings.Join(blocks(t, "ts", address), "\n")
	bundle := filepath.Join(t.TempDir(), "documented.mjs")
	cmd := exec.CommandContext(bounded(t), filepath.Join(dir, "node_modules", ".bin", "esbuild"), "--bundle", "--format=esm", "--platform=node", "--loader=ts", "--log-level=warning", "--outfile="+bundle)
	// It looks for imports from where it is.
	cmd.Dir, cmd.Stdin = dir, strings.NewReader(code)
	if out, err := cmd.CombinedOutput(); err != nil || len(out) > 0 {
		t.Fatalf("%v\n%s\n%s", err, out, code)
	}
	p := launch(t, "", node, bundle)
	greet()
	p.await("Hello Eve, this is bob.")
	p.kill()
}
