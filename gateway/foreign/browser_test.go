package foreign

import (
	"crypto/tls"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/cajun-go/cajun/gateway"
)

// TestBrowser opens testdata/js/page.html, which comes from another origin than
// the gateways and runs the scenario with the transports that browsers have.
func TestBrowser(t *testing.T) {
	chromium := program(t, "chromium", "chromium-browser", "google-chrome")
	site := newSite(t)
	o := open(t, gateway.WithCORS(site.URL))
	closed := open(t)
	wide := open(t, gateway.WithCORS(site.URL), gateway.WithTLS(certified(t)))

	query := url.Values{"open": {o.here, o.elsewhere}, "closed": {closed.here, closed.elsewhere}, "wide": {"https://" + host(wide.here), "https://" + host(wide.elsewhere)}}
	log := browse(t, chromium, site.URL+"/page.html?"+query.Encode())
	select {
	case r := <-site.reports:
		if len(r.Report) != 18 { // three transports to six gateways
			t.Errorf("%d results in\n%s", len(r.Report), r.Page)
		}
		for name, result := range r.Report {
			if result != "ok" {
				t.Errorf("%s: %s", name, result)
			}
			if !strings.Contains(r.Page, name+": ok") {
				t.Errorf("the page does not show %s: %s", name, r.Page)
			}
		}
	case <-bounded(t).Done():
		t.Fatalf("the page has not reported\n%s", log())
	}
	if n := closed.runsOf("closed"); n != 0 {
		t.Errorf("%d calls of a page that was not let in have reached an actor", n)
	}
}

// certified has a certificate, which nobody knows.
func certified(t *testing.T) *tls.Config {
	t.Helper()
	s := httptest.NewTLSServer(nil)
	defer s.Close()
	return &tls.Config{Certificates: s.TLS.Certificates, MinVersion: tls.VersionTLS12}
}

// report is what the page tells: a result of each step, and what it shows.
type report struct {
	Report map[string]string
	Page   string
}

// site is the server that the page comes from.
type site struct {
	*httptest.Server
	reports chan report
}

// newSite bundles the page, as a browser cannot find packages of npm by itself.
func newSite(t *testing.T) *site {
	t.Helper()
	dir, bundle := javascript(t), filepath.Join(t.TempDir(), "page.bundle.js")
	output(t, filepath.Join(dir, "node_modules", ".bin", "esbuild"), filepath.Join(dir, "page.js"),
		"--bundle", "--format=esm", "--log-level=warning", "--outfile="+bundle)
	s := &site{reports: make(chan report, 1)}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /page.html", func(w http.ResponseWriter, r *http.Request) { http.ServeFile(w, r, filepath.Join(dir, "page.html")) })
	mux.HandleFunc("GET /page.bundle.js", func(w http.ResponseWriter, r *http.Request) { http.ServeFile(w, r, bundle) })
	mux.HandleFunc("POST /report", func(w http.ResponseWriter, r *http.Request) {
		var got report
		if err := json.NewDecoder(r.Body).Decode(&got); err != nil {
			t.Errorf("the page reports nonsense: %v", err)
		}
		select {
		case s.reports <- got:
		default:
			t.Error("the page reports twice")
		}
	})
	s.Server = httptest.NewServer(mux)
	t.Cleanup(s.Close)
	return s
}

// browse opens a page in a browser without a window, and returns what the browser
// has logged so far. The browser and all its processes are killed when the test
// ends.
func browse(t *testing.T, chromium, page string) (log func() string) {
	t.Helper()
	// Without a sandbox, which needs rights that a container does not give: the only
	// page that is opened is ours.
	cmd := exec.Command(chromium, "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run", "--disable-background-networking",
		"--disable-component-update", "--disable-extensions", "--user-data-dir="+t.TempDir(), "--enable-logging=stderr", "--ignore-certificate-errors", page)
	group(cmd)
	var errs lockedBuffer
	cmd.Stderr = &errs
	cmd.WaitDelay = 5 * time.Second // all its processes hold the pipe, and write to the folder that is removed then
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		killGroup(cmd)
		_ = cmd.Wait()
	})
	return errs.String
}
