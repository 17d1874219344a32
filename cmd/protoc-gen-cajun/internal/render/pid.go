package render

import (
	"github.com/dave/jennifer/jen"

	"github.com/cajun-go/cajun/cmd/protoc-gen-cajun/internal/schema"
)

// pid writes the actor's typed address.
func (w writer) pid() {
	a, pid := w.actor, w.names.Pid()
	embedded := jen.Qual(runtimePath, "Pid")
	field := "Pid"
	if w.hasMethod("Pid") {
		// A field and a method of one type cannot share a name.
		field = w.names.PidAlias()
		comment(w.Group, wrap(field+" embeds cajun.Pid under another name than that of the method Pid."))
		w.Type().Id(field).Op("=").Add(embedded)
		embedded = jen.Id(field)
	}
	comment(w.Group,
		wrap(pid+" is the address of one actor: calling its methods calls the actor, wherever it lives. "+
			"It is a value to copy, compare and keep. What errors mean is said at the methods of ["+w.names.Interface()+"]; "+
			"[cajun.Deliver] asks for more than a method declares."),
		w.alsoDeprecated())
	w.Type().Id(pid).Struct(embedded)
	w.Var().Id("_").Id(w.names.Interface()).Op("=").Id(pid).Values()

	comment(w.Group, wrap(w.names.NewPid()+" returns the address of the actor with the given key, to be called through "+localFrom+
		": a node, or within an actor its [cajun.Self]."), w.exampleCall(), w.alsoDeprecated())
	base := jen.Qual(runtimePath, "NewPid").Call(jen.Id(localFrom), jen.Id(w.names.KindVar()), jen.Id(localKey))
	w.Func().Id(w.names.NewPid()).
		Params(jen.Id(localFrom).Qual(runtimePath, "Caller"), jen.Id(localKey).String()).
		Id(pid).
		Block(jen.Return(jen.Id(pid).Values(base)))

	for _, m := range a.Methods {
		own := ownDeprecation(m.Comment)
		if own == nil {
			own = deprecated(m.Deprecated, w.file.Source, m.Comment)
		}
		comment(w.Group, wrap(m.GoName+" calls the actor's "+m.GoName+briefly(m, a.Promise(m))+" See ["+w.names.Interface()+"."+m.GoName+"]."), own)
		call := "Call"
		if m.OneWay {
			call = "Send"
		} else if m.Streams {
			call = "Open"
		}
		w.Func().Params(jen.Id(localPid).Id(pid)).Id(m.GoName).Add(signature(m, true)).Block(
			jen.Return(jen.Id(w.names.MethodVar(m.GoName)).Dot(call).
				Call(jen.Id(localCtx), jen.Id(localPid).Dot(field), jen.Id(localReq))))
	}
}

// exampleCall shows how the actor's first method is called.
func (w writer) exampleCall() []string {
	if len(w.actor.Methods) == 0 {
		return nil
	}
	m, results := w.actor.Methods[0], "reply, err"
	if m.OneWay {
		results = "err"
	} else if m.Streams {
		results = "events, err"
	}
	return example(results + " := " + w.file.Package.Name + "." + w.names.NewPid() + "(node, key)." + m.GoName + "(ctx, req)")
}

func (w writer) hasMethod(goName string) bool {
	for _, m := range w.actor.Methods {
		if m.GoName == goName {
			return true
		}
	}
	return false
}

// signatureTypes are the type arguments of a method's descriptor.
func signatureTypes(m *schema.Method) []jen.Code {
	if m.OneWay {
		return []jen.Code{pointer(m.Request)}
	}
	return []jen.Code{pointer(m.Request), pointer(m.Response)}
}
