package render

import (
	"github.com/dave/jennifer/jen"

	"github.com/cajun-go/cajun/cmd/protoc-gen-cajun/internal/schema"
)

// kindConst writes the constant with the kind's name.
func (w writer) kindConst() {
	comment(w.Group, wrap(w.names.KindConst()+" is the full name of the service "+w.actor.GoName+"."))
	w.Const().Id(w.names.KindConst()).Op("=").Lit(w.actor.FullName)
}

// contract writes the interface.
func (w writer) contract() {
	a := w.actor
	own := commentLines(a.Comment)
	if own == nil {
		own = wrap(w.names.Interface() + " is the actor " + a.FullName + ".")
	}
	comment(w.Group, own,
		wrap("Implement it and host it with ["+w.names.Host()+"]; call it through ["+w.names.Pid()+"]."+handling(a)),
		w.deprecated())
	w.Type().Id(w.names.Interface()).InterfaceFunc(func(g *jen.Group) {
		for i, m := range a.Methods {
			if i > 0 {
				g.Line()
			}
			own := commentLines(m.Comment)
			if own == nil {
				own = wrap(m.GoName + " is the method " + a.FullName + "." + m.Name + ".")
			}
			comment(g, own, wrap(promise(a, m)), deprecated(m.Deprecated, w.file.Source, m.Comment))
			g.Id(m.GoName).Add(signature(m, false))
		}
	})
}

// handling says how the runtime calls what a person implements.
func handling(a *schema.Actor) string {
	switch {
	case len(a.Methods) == 0:
		return ""
	case a.State == nil:
		return " An actor handles one call at a time. An error that a method returns goes to the caller, if one waits."
	}
	return " An actor handles one call at a time. An error that a method returns puts the state back to what it was before the call, and goes to the caller, if one waits."
}

// signature is the parameters and results of a method, with names for the
// parameters if they are to be used.
func signature(m *schema.Method, named bool) *jen.Statement {
	ctx, req := jen.Qual("context", "Context"), pointer(m.Request)
	if named {
		ctx, req = jen.Id(localCtx).Add(ctx), jen.Id(localReq).Add(req)
	}
	s := jen.Params(ctx, req)
	switch {
	case m.OneWay:
		return s.Error()
	case m.Streams:
		return s.Params(jen.Qual("iter", "Seq2").Types(pointer(m.Response), jen.Error()), jen.Error())
	}
	return s.Params(pointer(m.Response), jen.Error())
}

// deprecated is the deprecation of the whole actor, for the interface, whose
// comment includes the author's.
func (w writer) deprecated() []string {
	return deprecated(w.actor.Deprecated, w.file.Source, w.actor.Comment)
}

// alsoDeprecated is the same for the other declarations.
func (w writer) alsoDeprecated() []string {
	if own := ownDeprecation(w.actor.Comment); own != nil {
		return own
	}
	return w.deprecated()
}

// host writes the function that makes the option to host the actor.
func (w writer) host() {
	a, param := w.actor, w.typeParam()
	text := w.names.Host() + " makes the node that is started with it host " + a.GoName + ". Each activation of an actor calls " + localSpawn + " for a fresh instance, "
	results := jen.Params(jen.Id(param), jen.Error())
	spawn := jen.Func().Params(jen.Op("*").Qual(runtimePath, "Self"))
	host := "Host"
	if a.State != nil {
		spawn = jen.Func().Params(jen.Op("*").Qual(runtimePath, "Self"), pointer(*a.State))
		host = "HostWithState"
		text += "which keeps the loaded state that it is given: handlers change that message in place, as the runtime commits it and no other."
	} else {
		text += "which lives until the actor is passivated or moved; what it holds is not stored."
	}
	text += " Where " + localSpawn + " fails, no handler runs, and the next call tries again."
	comment(w.Group, wrap(text), example("node, err := cajun.Start(ctx, "+w.file.Package.Name+"."+w.names.Host()+"(new"+a.GoName+"), ...)"), w.alsoDeprecated())
	w.Func().Id(w.names.Host()).
		Types(jen.Id(param).Id(w.names.Interface())).
		Params(jen.Id(localSpawn).Add(spawn.Add(results))).
		Qual(runtimePath, "Option").
		Block(jen.Return(jen.Qual(runtimePath, host).Add(w.hostArguments(param))))
}

// hostArguments binds every method to the method of the type parameter.
func (w writer) hostArguments(param string) jen.Code {
	arguments := []jen.Code{jen.Id(w.names.KindVar()), jen.Id(localSpawn)}
	for _, m := range w.actor.Methods {
		handle := "Handle"
		if m.OneWay {
			handle = "HandleOneWay"
		} else if m.Streams {
			handle = "HandleStream"
		}
		arguments = append(arguments, jen.Line().Qual(runtimePath, handle).
			Call(jen.Id(w.names.MethodVar(m.GoName)), jen.Id(param).Dot(m.GoName)))
	}
	if len(w.actor.Methods) > 0 {
		return jen.Custom(jen.Options{Open: "(", Close: ",\n)", Separator: ","}, arguments...)
	}
	return jen.Params(arguments...)
}

// unimplemented writes the type to embed in unfinished actors.
func (w writer) unimplemented() {
	a, name := w.actor, w.names.Unimplemented()
	comment(w.Group, wrap(name+" answers every method with the code unimplemented, and nothing is changed. "+
		"A type that embeds it satisfies ["+w.names.Interface()+"] before it has all methods, also when the service gets new ones."),
		w.alsoDeprecated())
	w.Type().Id(name).Struct()
	for _, m := range a.Methods {
		answer := []jen.Code{jen.Qual(runtimePath, "Unimplemented").Call(jen.Id(w.names.KindConst()), jen.Lit(m.Name))}
		if !m.OneWay {
			answer = append([]jen.Code{jen.Nil()}, answer...)
		}
		w.Line()
		w.Func().Params(jen.Id(name)).Id(m.GoName).Add(signature(m, false)).Block(jen.Return(answer...))
	}
}
