package docs

import (
	"fmt"
	"go/ast"
	"go/format"
	"go/parser"
	"go/token"
	"maps"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/cajun-go/cajun/internal/usermodule"
)

// assumed is what the Go blocks of a page take for granted, besides imports.
var assumed = map[string]string{
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
var t *testing.T

type account struct {
	bankv1cajun.UnimplementedAccount
	state *bankv1.AccountState
}

func newAccount(*cajun.Self, *bankv1.AccountState) (*account, error) { return nil, nil }
`,
}

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
	"fmt":              "fmt",
	"gateway":          "github.com/cajun-go/cajun/gateway",
	"greeterv1":        "github.com/cajun-go/cajun/examples/gen/greeter/v1",
	"greeterv1cajun":   "github.com/cajun-go/cajun/examples/gen/greeter/v1/greeterv1cajun",
	"greeterv1connect": "example.com/docs/gen/greeter/v1/greeterv1connect",
	"http":             "net/http",
	"iter":             "iter",
	"testing":          "testing",
	"tls":              "crypto/tls",
}

// TestSnippets compiles the Go blocks of the pages that show parts of programs,
// each as a package of its own. A block is declarations, the body of a function
// that returns an error, or, with the mark "method", methods of an interface.
// A line that is only "..." leaves something out.
func TestSnippets(t *testing.T) {
	f := usermodule.New(t)
	f.WithBuf()
	bin, checkout := t.TempDir(), usermodule.Checkout(t)
	f.Run("go -C '" + checkout + "' build -buildvcs=false -o '" + bin + "/' connectrpc.com/connect/v2/cmd/protoc-gen-connect-go")
	f.WithPath(bin)
	f.Write("buf.gen.yaml", "version: v2\nplugins: [{local: protoc-gen-connect-go, out: ., opt: module=github.com/cajun-go/cajun/examples}]\n")
	f.Run("buf generate '" + checkout + "' --path '" + filepath.Join(checkout, "examples", "proto", "greeter") + "'")
	for _, page := range slices.Sorted(maps.Keys(assumed)) {
		compiled := 0
		for _, b := range blocks(t, read(t, page)) {
			if b.language != "go" {
				continue
			}
			compiled++
			f.Write(fmt.Sprintf("%s_%d/snippet.go", strings.TrimSuffix(page, ".md"), b.line), program(t, page, b))
		}
		if compiled == 0 {
			t.Errorf("%s has no Go", page)
		}
	}
	// All that it needs is in this checkout's go.mod, and so in the module cache.
	f.Run("cp '" + checkout + "/go.mod' '" + checkout + "/go.sum' . && go mod edit -module=example.com/docs" +
		" -require=github.com/cajun-go/cajun@v0.0.0 -replace=github.com/cajun-go/cajun='" + checkout + "' && go vet -mod=mod -unreachable=false ./...")
}

// program makes a package of a block.
func program(t *testing.T, page string, b block) string {
	t.Helper()
	text := regexp.MustCompile(`(?m)^\s*\.\.\.$`).ReplaceAllString(b.text, "")
	where := fmt.Sprintf("\n//line docs/%s:%d\n", page, b.line+1)
	code := where + text
	if b.mark == "method" {
		code = "type _ interface {" + code + "}\n"
	} else if _, err := parser.ParseFile(token.NewFileSet(), "", "package p\n"+text, 0); err != nil {
		code = "func _() (_ error) {" + code + used(t, page, b, text) + "\nreturn nil\n}\n"
	}
	if formatted, err := format.Source([]byte(b.text)); b.mark == "" && err == nil && string(formatted) != b.text {
		t.Errorf("%s:%d: gofmt would write\n%s", page, b.line, formatted)
	}
	code += assumed[page]
	bare := regexp.MustCompile(`(?m)//.*$`).ReplaceAllString(code, "") // a comment needs no imports
	var head strings.Builder
	head.WriteString("package snippet\n\n")
	for _, name := range slices.Sorted(maps.Keys(imports)) {
		if regexp.MustCompile(`(^|[^.\w])` + name + `\.[A-Z]`).MatchString(bare) {
			fmt.Fprintf(&head, "import %s %q\n", name, imports[name])
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
