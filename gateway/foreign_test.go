package gateway_test

import (
	"os/exec"
	"strings"
	"testing"
)

// TestCurlItself calls with the program, over both versions of HTTP.
func TestCurlItself(t *testing.T) {
	path, err := exec.LookPath("curl")
	if err != nil {
		t.Skip("there is no curl here")
	}
	o := open(t)
	o.doors(t, func(t *testing.T, base string) {
		for _, version := range []string{"--http1.1", "--http2-prior-knowledge"} {
			key := strings.NewReplacer("/", ".", "_", ".").Replace(t.Name()) + version
			for attempt, want := range []string{"", "idempotency-replayed: true"} {
				out, err := exec.CommandContext(testContext(t), path, "-sS", "-i", "--compressed", version, "-H", "Content-Type: application/json", "-H", "Idempotency-Key: k",
					"-d", `{"amount": 4}`, base+"/actors/"+key+"/desk.v1.Desk/Add").CombinedOutput()
				text := strings.ToLower(string(out))
				if err != nil || !strings.Contains(text, `"sum":"4"`) && !strings.Contains(text, `"sum": "4"`) || !strings.Contains(text, want) || want == "" && strings.Contains(text, "replayed") {
					t.Errorf("%s, attempt %d: %v\n%s", version, attempt, err, out)
				}
			}
			out, err := exec.CommandContext(testContext(t), path, "-sS", version, "-G", "-d", "connect=v1", "-d", "encoding=json", "--data-urlencode", "message={}",
				base+"/actors/"+key+"/desk.v1.Desk/Look").CombinedOutput()
			if err != nil || !strings.Contains(string(out), `"4"`) {
				t.Errorf("%s, GET: %v\n%s", version, err, out)
			}
		}
	})
}
