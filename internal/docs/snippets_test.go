package docs

import (
	"fmt"
	"go/ast"
	"go/format"
	"go/parser"
	"go/token"
	"maps"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/cajun-go/cajun/internal/usermodule"
	cajunproto "github.com/cajun-go/cajun/proto"
)

// assumed is what the Go blocks of a page take for granted, besides imports.
var assumed = map[string]string{
	"../README.md": `
const day = 24 * time.Hour

var (
	ctx   context.Context
	alice *bankv1cajun.AccountPid
	req   *bankv1.DepositRequest
)

type transfer struct {
	self  *cajun.Self
	state *bankv1.TransferState
}

type account struct{ bankv1cajun.UnimplementedAccount }

func newAccount(*cajun.Self, *bankv1.AccountState) (*account, error) { return nil, nil }
`,
	"delivery.md": `
const day = 24 * time.Hour

var (
	ctx   context.Context
	node  *cajun.Node
	alice *bankv1cajun.AccountPid
	req   *bankv1.DepositRequest
)

type account struct {
	state  *bankv1.AccountState
	ledger interface {
		InsertOnce(ctx context.Context, id string, cents int64) error
	}
}
`,
	"gateway.md": `
var (
	ctx       context.Context
	node      *cajun.Node
	etcd      clientv3.Config
	bob       greeterv1connect.GreeterClient
	tlsConfig *tls.Config
	tracing   connect.ServerInterceptor
)

func verify(authorization string) (user struct{ ID, Account string }, err error) { return }
`,
	"streams.md": `
var (
	ctx  context.Context
	node *cajun.Node
)
`,
	"testing.md": `
var (
	t *testing.T
	c *cajuntest.Cluster
)

type account struct {
	bankv1cajun.UnimplementedAccount
	state *bankv1.AccountState
}

func newAccount(*cajun.Self, *bankv1.AccountState) (*account, error) { return nil, nil }
`,
}

// elsewhere are the pages whose Go blocks another test sees to.
var elsewhere = []string{
	"coming-from.md", // TestOurSide; the rest is code of other frameworks
	"quickstart.md",  // TestQuickstart
}

// more is what README.md and delivery.md show of accounts besides what the
// README declares.
var more = strings.NewReplacer(
	"package bank.v1;", "package more.v1;",
	"gen/bank/v1;bankv1", "gen/more/v1;bankv1",
	`"bank.v1.AccountState"`, `"more.v1.AccountState"`,
	`import "cajun/v1/options.proto";`, `import "cajun/v1/options.proto";
import "google/protobuf/empty.proto";
message WithdrawRequest { int64 cents = 1; }
message WithdrawResponse {}
message NotifyRequest {}
message TransferState { bool done = 1; }
message RunRequest { string from = 1; string to = 2; int64 cents = 3; }
message RunResponse { bool refused = 1; }`,
	"service Account {", `service Account {
  rpc Withdraw(WithdrawRequest) returns (WithdrawResponse);
  rpc Notify(NotifyRequest) returns (google.protobuf.Empty) { option (cajun.v1.method) = {one_way: true}; }
  rpc PayInterest(DepositRequest) returns (google.protobuf.Empty) { option (cajun.v1.method) = {one_way: true}; }`,
)

// imports are the packages that a block is given when it names them.
var imports = map[string]string{
	"bankv1":           "github.com/cajun-go/cajun/examples/gen/bank/v1",
	"bankv1cajun":      "github.com/cajun-go/cajun/examples/gen/bank/v1/bankv1cajun",
	"cajun":            "github.com/cajun-go/cajun/runtime",
	"cajunetcd":        "github.com/cajun-go/cajun/cajunetcd",
	"cajuntest":        "github.com/cajun-go/cajun/cajuntest",
	"clientv3":         "go.etcd.io/etcd/client/v3",
	"connect":          "connectrpc.com/connect/v2",
	"connecthttp":      "connectrpc.com/connect/v2/connecthttp",
	"context":          "context",
	"embedetcd":        "github.com/cajun-go/cajun/metadata/embedetcd",
	"etcdmeta":         "github.com/cajun-go/cajun/metadata/etcdmeta",
	"fmt":              "fmt",
	"gateway":          "github.com/cajun-go/cajun/gateway",
	"greeterv1":        "github.com/cajun-go/cajun/examples/gen/greeter/v1",
	"greeterv1cajun":   "github.com/cajun-go/cajun/examples/gen/greeter/v1/greeterv1cajun",
	"greeterv1connect": "example.com/bank/gen/greeter/v1/greeterv1connect",
	"http":             "net/http",
	"httptest":         "net/http/httptest",
	"iter":             "iter",
	"pgstate":          "github.com/cajun-go/cajun/state/pgstate",
	"strings":          "strings",
	"testing":          "testing",
	"time":             "time",
	"tls":              "crypto/tls",
}

// TestSnippets compiles the Go blocks of the pages that show parts of programs,
// each as a package of its own. A block is declarations, the body of a function
// that returns an error, or, with the mark "method", methods of an interface;
// one that is marked with the name of a file is all of that file. A line that is
// only "..." leaves something out. The module is the one that the README starts,
// with its proto file and its settings of buf.
func TestSnippets(t *testing.T) {
	f := usermodule.New(t)
	f.WithBuf()
	bin, checkout := t.TempDir(), usermodule.Checkout(t)
	f.Run("go -C '" + checkout + "' build -buildvcs=false -o '" + bin + "/' connectrpc.com/connect/v2/cmd/protoc-gen-connect-go")
	f.WithPath(bin)
	f.Set("GOFLAGS", "-mod=mod")
	for _, b := range blocks(t, read(t, "../README.md")) {
		switch first, _, _ := strings.Cut(b.text, "\n"); {
		case b.language == "proto":
			f.Write("proto/bank/v1/bank.proto", b.text)
			f.Write("proto/more/v1/more.proto", more.Replace(b.text))
		case b.language == "yaml":
			f.Write(strings.TrimPrefix(first, "# "), b.text)
		}
	}
	f.Write("third_party/"+cajunproto.OptionsPath, cajunproto.Options())
	f.Write("connect.yaml", "version: v2\nplugins: [{local: protoc-gen-connect-go, out: ., opt: module=github.com/cajun-go/cajun/examples}]\n")
	// All that it needs is in this checkout's go.mod, and so in the module cache.
	f.Run("cp '" + checkout + "/go.mod' '" + checkout + "/go.sum' . && go mod edit -module=example.com/bank" +
		" -require=github.com/cajun-go/cajun@v0.0.0 -replace=github.com/cajun-go/cajun='" + checkout + "'" +
		" -tool=google.golang.org/protobuf/cmd/protoc-gen-go -tool=github.com/cajun-go/cajun/cmd/protoc-gen-cajun")
	f.Run("buf generate && buf generate '" + checkout + "' --template connect.yaml --path '" + filepath.Join(checkout, "examples", "proto", "greeter") + "'")
	for _, page := range slices.Sorted(maps.Keys(assumed)) {
		name := strings.TrimSuffix(path.Base(page), ".md")
		compiled := 0
		for _, b := range blocks(t, read(t, page)) {
			if b.language != "go" {
				continue
			}
			compiled++
			folder, file := fmt.Sprintf("%s_%d", name, b.line), "snippet.go"
			if strings.HasSuffix(b.mark, ".go") {
				folder, file = name, b.mark
			}
			f.Write(folder+"/"+file, program(t, page, b))
		}
		if compiled == 0 {
			t.Errorf("%s has no Go", page)
		}
	}
	f.Run("go vet -unreachable=false ./...")
}

// TestSnippetsAreAllCompiled: no page has Go blocks that no test sees to.
func TestSnippetsAreAllCompiled(t *testing.T) {
	documents, err := os.ReadDir(filepath.Join("..", "..", "docs"))
	if err != nil {
		t.Fatal(err)
	}
	for _, document := range documents {
		page := document.Name()
		if _, ok := assumed[page]; ok || slices.Contains(elsewhere, page) || filepath.Ext(page) != ".md" {
			continue
		}
		for _, b := range blocks(t, read(t, page)) {
			if b.language == "go" {
				t.Errorf("%s:%d: nothing compiles this block: add the page to assumed", page, b.line)
			}
		}
	}
}

// program makes a package of a block.
func program(t *testing.T, page string, b block) string {
	t.Helper()
	text := regexp.MustCompile(`(?m)^\s*\.\.\.$`).ReplaceAllString(b.text, "")
	where := fmt.Sprintf("//line %s:%d\n", path.Join("docs", page), b.line+1)
	if formatted, err := format.Source([]byte(b.text)); b.mark != "method" && err == nil && string(formatted) != b.text {
		t.Errorf("%s:%d: gofmt would write\n%s", page, b.line, formatted)
	}
	if strings.HasSuffix(b.mark, ".go") {
		return where + text
	}
	code := "\n" + where + text
	if b.mark == "method" {
		code = "type _ interface {" + code + "}\n"
	} else if _, err := parser.ParseFile(token.NewFileSet(), "", "package p\n"+text, 0); err != nil {
		code = "func _() (_ error) {" + code + used(t, page, b, text) + "\nreturn nil\n}\n"
	}
	code += assumed[page]
	bare := regexp.MustCompile(`(?m)//.*$`).ReplaceAllString(code, "") // a comment needs no imports
	var head strings.Builder
	head.WriteString("package snippet\n\n")
	for _, name := range slices.Sorted(maps.Keys(imports)) {
		if regexp.MustCompile(`(^|[^.\w])` + name + `\.[A-Z]`).MatchString(bare) {
			from := imports[name]
			if page == "../README.md" || page == "delivery.md" { // their accounts are not those of the example
				from = strings.Replace(from, "github.com/cajun-go/cajun/examples/gen/bank/v1", "example.com/bank/gen/more/v1", 1)
			}
			fmt.Fprintf(&head, "import %s %q\n", name, from)
		}
	}
	return head.String() + code
}

// used uses the variables that statements declare and a reader would use next.
func used(t *testing.T, page string, b block, text string) string {
	t.Helper()
	file, err := parser.ParseFile(token.NewFileSet(), "", "package p\nfunc _() {\n"+text+"\n}", 0)
	if err != nil {
		t.Fatalf("%s, the block of line %d is neither declarations nor statements: %v", page, b.line, err)
	}
	uses := ""
	for _, statement := range file.Decls[0].(*ast.FuncDecl).Body.List {
		if assign, ok := statement.(*ast.AssignStmt); ok && assign.Tok == token.DEFINE {
			for _, left := range assign.Lhs {
				uses += "\n_ = " + left.(*ast.Ident).Name
			}
		}
	}
	return uses
}
