package render

import (
	"strconv"
	"time"

	"github.com/dave/jennifer/jen"

	"github.com/cajun-go/cajun/cmd/protoc-gen-cajun/internal/schema"
	"github.com/cajun-go/cajun/guarantee"
)

// descriptors writes the variables that tell the runtime what the proto file
// declares.
func (w writer) descriptors() {
	a := w.actor
	comment(w.Group, wrap("What "+w.file.Source+" declares of "+a.GoName+" and its methods."))
	w.Var().DefsFunc(func(g *jen.Group) {
		g.Id(w.names.KindVar()).Op("=").Op("&").Qual(runtimePath, "Kind").Add(literal(w.kindFields()))
		for _, m := range a.Methods {
			constructor := "NewMethod"
			if m.OneWay {
				constructor = "NewOneWay"
			} else if m.Streams {
				constructor = "NewStream"
			}
			g.Id(w.names.MethodVar(m.GoName)).Op("=").Qual(runtimePath, constructor).Types(signatureTypes(m)...).
				Call(jen.Id(w.names.KindVar()), jen.Lit(m.Name), jen.Qual(runtimePath, "MethodOptions").Add(literal(methodFields(m))))
		}
	})
}

// field is one element of a struct literal.
type field struct {
	name  string
	value jen.Code
}

// literal is the braces of a struct literal: on one line while it is short.
func literal(fields []field) *jen.Statement {
	var elements []jen.Code
	for _, f := range fields {
		elements = append(elements, jen.Id(f.name).Op(":").Add(f.value))
	}
	if len(fields) < 2 {
		return jen.Values(elements...)
	}
	return jen.Custom(jen.Options{Open: "{", Close: "}", Separator: ",", Multi: true}, elements...)
}

func (w writer) kindFields() []field {
	a := w.actor
	fields := []field{
		{"Name", jen.Id(w.names.KindConst())},
		// A pointer, as the variable beside it may be set later than this one.
		{"Schema", jen.Op("&").Qual(w.file.Messages.Path, w.file.Descriptor)},
	}
	if len(a.Aliases) > 0 {
		fields = append(fields, field{"Aliases", jen.Index().String().ValuesFunc(func(g *jen.Group) {
			for _, alias := range a.Aliases {
				g.Lit(alias)
			}
		})})
	}
	fields = appendLevel(fields, a.Delivery)
	fields = appendDuration(fields, "IdleTimeout", a.IdleTimeout)
	fields = appendCount(fields, "MailboxCapacity", int(a.MailboxCapacity))
	return appendCount(fields, "Shards", int(a.Shards))
}

func methodFields(m *schema.Method) []field {
	fields := appendLevel(nil, m.Delivery)
	fields = appendDuration(fields, "Timeout", m.Timeout)
	if m.Retry != (guarantee.RetryPolicy{}) {
		retry := appendDuration(nil, "InitialBackoff", m.Retry.InitialBackoff)
		retry = appendDuration(retry, "MaxBackoff", m.Retry.MaxBackoff)
		retry = appendCount(retry, "MaxAttempts", m.Retry.MaxAttempts)
		fields = append(fields, field{"Retry", jen.Qual(guaranteePath, "RetryPolicy").Add(literal(retry))})
	}
	if m.NoSideEffects {
		fields = append(fields, field{"NoSideEffects", jen.True()})
	}
	if m.Immutable {
		fields = append(fields, field{"Immutable", jen.True()})
	}
	return appendCount(fields, "KeyField", int(m.KeyField))
}

func appendLevel(fields []field, level guarantee.Level) []field {
	name := ""
	switch level {
	case guarantee.AtMostOnce:
		name = "AtMostOnce"
	case guarantee.AtLeastOnce:
		name = "AtLeastOnce"
	case guarantee.ExactlyOnce:
		name = "ExactlyOnce"
	default:
		return fields
	}
	return append(fields, field{"Delivery", jen.Qual(guaranteePath, name)})
}

func appendCount(fields []field, name string, n int) []field {
	if n == 0 {
		return fields
	}
	return append(fields, field{name, jen.Lit(n)})
}

func appendDuration(fields []field, name string, d time.Duration) []field {
	if d == 0 {
		return fields
	}
	return append(fields, field{name, duration(d)})
}

// duration writes d as a person would: in the largest unit that divides it.
func duration(d time.Duration) jen.Code {
	units := []struct {
		name string
		unit time.Duration
	}{
		{"Hour", time.Hour},
		{"Minute", time.Minute},
		{"Second", time.Second},
		{"Millisecond", time.Millisecond},
		{"Microsecond", time.Microsecond},
		{"Nanosecond", time.Nanosecond},
	}
	for _, u := range units {
		switch n := d / u.unit; {
		case d%u.unit != 0:
		case n == 1:
			return jen.Qual("time", u.name)
		default:
			return jen.Op(strconv.FormatInt(int64(n), 10)).Op("*").Qual("time", u.name)
		}
	}
	panic("unreachable: every duration is a number of nanoseconds")
}
