package gateway

// CallKey is the key under which an actor remembers a call.
func CallKey(principal, key string) string { return callKey(principal, key) }
