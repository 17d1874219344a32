// Package compiled_test compiles the golden files of the plugin. It is apart
// from the test that writes them, so that broken output can be written anew.
package compiled_test

import (
	"context"
	"errors"
	"strings"
	"testing"

	"connectrpc.com/connect/v2"
	"google.golang.org/protobuf/types/known/structpb"

	cajun "github.com/cajun-go/cajun/runtime"

	bankv1 "github.com/cajun-go/cajun/cmd/protoc-gen-cajun/internal/plugin/testdata/gen/bank/v1"
	"github.com/cajun-go/cajun/cmd/protoc-gen-cajun/internal/plugin/testdata/gen/bank/v1/bankv1cajun"
	"github.com/cajun-go/cajun/cmd/protoc-gen-cajun/internal/plugin/testdata/gen/edition2023/v1/hybridv1cajun"
	"github.com/cajun-go/cajun/cmd/protoc-gen-cajun/internal/plugin/testdata/gen/edition2024/v1/opaquev1cajun"
	"github.com/cajun-go/cajun/cmd/protoc-gen-cajun/internal/plugin/testdata/gen/foreign/v1/foreignv1cajun"
	namesv1 "github.com/cajun-go/cajun/cmd/protoc-gen-cajun/internal/plugin/testdata/gen/names/v1"
	"github.com/cajun-go/cajun/cmd/protoc-gen-cajun/internal/plugin/testdata/gen/names/v1/namesv1cajun"
	"github.com/cajun-go/cajun/cmd/protoc-gen-cajun/internal/plugin/testdata/gen/proto2/v1/oldv1cajun"
)

// An actor that has none of its methods yet satisfies its interface.
type (
	account struct {
		bankv1cajun.UnimplementedAccount
	}
	foreign struct {
		foreignv1cajun.UnimplementedForeign
	}
	a     struct{ namesv1cajun.UnimplementedA }
	lower struct {
		namesv1cajun.UnimplementedLower
	}
)

// The generated surface, as users hold it.
var (
	_ bankv1cajun.Account = account{}
	_ bankv1cajun.Account = bankv1cajun.AccountPid{}
	_ cajun.Target        = bankv1cajun.AccountPid{}
	_ namesv1cajun.Lower  = lower{}
	_ namesv1cajun.Lower  = namesv1cajun.LowerPid{}
	// A Pid embeds cajun.Pid in some way even where a method takes its name.
	_ cajun.Target = namesv1cajun.LowerPid{}
)

// The options and constructors, with the types that their comments promise.
var (
	_ func(func(*cajun.Self, *bankv1.AccountState) (account, error)) cajun.Option = bankv1cajun.HostAccount[account]
	_ func(func(*cajun.Self, *namesv1.T) (a, error)) cajun.Option                 = namesv1cajun.HostA[a]
	_ func(func(*cajun.Self) (lower, error)) cajun.Option                         = namesv1cajun.HostLower[lower]
	_ func(func(*cajun.Self, *structpb.Struct) (foreign, error)) cajun.Option     = foreignv1cajun.HostForeign[foreign]
)

func TestKindsAreFullNames(t *testing.T) {
	for got, want := range map[string]string{
		bankv1cajun.AccountKind:    "golden.bank.v1.Account",
		bankv1cajun.VaultKind:      "golden.bank.v1.Vault",
		hybridv1cajun.CounterKind:  "golden.edition2023.v1.Counter",
		opaquev1cajun.CounterKind:  "golden.edition2024.v1.Counter",
		foreignv1cajun.ForeignKind: "golden.foreign.v1.Foreign",
		namesv1cajun.LowerKind:     "golden.names.v1.lower",
		namesv1cajun.SecondKind:    "golden.names.v1.Second",
		oldv1cajun.OldKind:         "golden.proto2.v1.Old",
	} {
		if got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
}

func TestUnimplementedNamesTheProtoMethod(t *testing.T) {
	_, callErr := lower{}.SnakeCase(context.Background(), new(namesv1.T))
	oneWayErr := lower{}.Error(context.Background(), new(namesv1.T))
	for method, err := range map[string]error{"snake_case": callErr, "Error": oneWayErr} {
		var status *connect.Error
		if !errors.As(err, &status) || status.Code() != connect.CodeUnimplemented {
			t.Errorf("%s: got %v, want a connect error with CodeUnimplemented", method, err)
			continue
		}
		if !strings.Contains(err.Error(), "golden.names.v1.lower does not implement "+method+":") {
			t.Errorf("%s: the error does not say what is missing: %v", method, err)
		}
	}
}
