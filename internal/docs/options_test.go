package docs

import (
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/reflect/protoreflect"

	cajunv1 "github.com/cajun-go/cajun/gen/cajun/v1"
	"github.com/cajun-go/cajun/guarantee"
	"github.com/cajun-go/cajun/internal/usermodule"
	cajunproto "github.com/cajun-go/cajun/proto"
	cajun "github.com/cajun-go/cajun/runtime"
)

// entries are the options that the page describes: "Actor state" and its text.
func entries(document string) map[string]string {
	found := map[string]string{}
	for _, section := range strings.Split(document, "\n## ")[1:] {
		title, text, _ := strings.Cut(section, "\n")
		for _, entry := range strings.Split(text, "\n### ")[1:] {
			name, body, _ := strings.Cut(entry, "\n")
			found[title+" "+strings.Trim(name, "`")] = body
		}
	}
	return found
}

// TestOptionsAreAllDescribed: each field of the options has an entry, and no
// entry describes a field that is gone.
func TestOptionsAreAllDescribed(t *testing.T) {
	document := read(t, "options.md")
	var want []string
	file := cajunv1.File_cajun_v1_options_proto
	for _, message := range []protoreflect.Name{"Actor", "Method", "Retry"} {
		fields := file.Messages().ByName(message).Fields()
		for i := range fields.Len() {
			want = append(want, string(message)+" "+string(fields.Get(i).Name()))
		}
	}
	for i := range file.Extensions().Len() {
		extension := file.Extensions().Get(i)
		if extension.Kind() != protoreflect.MessageKind { // of actor and method the fields are listed
			want = append(want, "Field "+string(extension.Name()))
		} else if !strings.Contains(document, "`option ("+string(extension.FullName())+") = {…};`") {
			t.Errorf("%s is not mentioned", extension.FullName())
		}
	}
	slices.Sort(want)
	found := entries(document)
	if got := slices.Sorted(maps.Keys(found)); !slices.Equal(got, want) {
		t.Errorf("docs/options.md describes\n%q\nand the options have\n%q", got, want)
	}
	levels := file.Enums().ByName("Delivery").Values()
	for i := range levels.Len() {
		if row := "| `" + string(levels.Get(i).Name()) + "` |"; !strings.Contains(document, row) {
			t.Errorf("no row begins with %s", row)
		}
	}
}

// TestOptionsEntries: each entry says what it has to, and its example is a part
// of the whole one, for which code is generated below.
func TestOptionsEntries(t *testing.T) {
	document := read(t, "options.md")
	whole := blocks(t, document)[0].text
	example := regexp.MustCompile("(?m)^- Example: `(.+)`$")
	for name, text := range entries(document) {
		for _, part := range []string{"\n- Default: ", "\n- Example: `", "\n- Refused: "} {
			if strings.Count(text, part) != 1 {
				t.Errorf("%s does not have one line %q", name, strings.TrimSpace(part))
			}
		}
		if match := example.FindStringSubmatch(text); match == nil || !strings.Contains(whole, match[1]) {
			t.Errorf("%s: the example %q is no part of the whole one", name, match)
		}
	}
}

// TestOptionsNumbers holds the defaults and limits to the code.
func TestOptionsNumbers(t *testing.T) {
	short := func(d time.Duration) string {
		if d < time.Second {
			return strconv.FormatInt(d.Milliseconds(), 10) + " ms"
		}
		return strconv.FormatFloat(d.Seconds(), 'f', -1, 64) + " s"
	}
	found := entries(read(t, "options.md"))
	for name, want := range map[string]string{
		"Actor idle_timeout":     short(cajun.DefaultIdleTimeout) + ".",
		"Actor mailbox_capacity": strconv.Itoa(cajun.DefaultMailboxCapacity) + ".",
		"Actor shards":           strconv.Itoa(cajun.DefaultShards) + ".",
		"Method retry":           short(guarantee.DefaultInitialBackoff) + ", growing to " + short(guarantee.DefaultMaxBackoff) + ",",
		"Retry initial_backoff":  short(guarantee.DefaultInitialBackoff) + ".",
		"Retry max_backoff":      short(guarantee.DefaultMaxBackoff) + ".",
	} {
		if !strings.Contains(found[name], "\n- Default: "+want) {
			t.Errorf("the default of %s is %s", name, want)
		}
	}
}

// TestOptionsExample generates code for the example of the page.
func TestOptionsExample(t *testing.T) {
	f := usermodule.New(t)
	f.WithBuf()
	bin := t.TempDir()
	f.Run("go -C '" + usermodule.Checkout(t) + "' build -buildvcs=false -o '" + bin + "/' ./cmd/protoc-gen-cajun")
	f.WithPath(bin)
	f.Write("buf.yaml", "version: v2\nmodules: [{path: proto}, {path: third_party}]\nlint: {except: [SERVICE_SUFFIX, RPC_REQUEST_RESPONSE_UNIQUE, RPC_RESPONSE_STANDARD_NAME]}\n")
	f.Write("buf.gen.yaml", "version: v2\nplugins: [{local: protoc-gen-cajun, out: ., opt: module=example.com/bank}]\ninputs: [{directory: proto}]\n")
	f.Write("third_party/"+cajunproto.OptionsPath, cajunproto.Options())
	f.Write("proto/bank/v1/bank.proto", blocks(t, read(t, "options.md"))[0].text)
	f.Run("buf lint && buf format --diff --exit-code proto && buf generate")
	generated, err := os.ReadFile(filepath.Join(f.Dir, "gen", "bank", "v1", "bankv1cajun", "bank.cajun.go"))
	if err != nil || !strings.Contains(string(generated), "func HostAccount") {
		t.Errorf("%v, %s", err, generated)
	}
}
