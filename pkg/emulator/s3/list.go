package s3

import (
	"bytes"
	"context"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/diskbridge/diskbridge/pkg/emulator/wire"
)

// The parts of the server's lists that are corrected.
var (
	commonPrefix = regexp.MustCompile(`<CommonPrefixes><Prefix>[^<]*</Prefix></CommonPrefixes>`)
	keyCount     = regexp.MustCompile(`<KeyCount>(\d+)</KeyCount>`)
)

// keepsVersions reports whether the server keeps versions, or markers of deletion, of a bucket's objects.
func (s *Service) keepsVersions(bucket string) bool {
	entries, _ := os.ReadDir(filepath.Join(s.versions(), bucket)) // there is none of a bucket that never had any
	for _, e := range entries {
		if !strings.HasPrefix(e.Name(), ".") {
			return true
		}
	}
	return false
}

// list answers a list of a bucket that keeps versions. The server shows a common prefix also where every object below it was
// deleted and only the markers of that are left, which S3 does not:
// https://docs.aws.amazon.com/AmazonS3/latest/userguide/DeleteMarker.html
func (s *Service) list(ctx context.Context, w http.ResponseWriter, r *http.Request, q Request, scope wire.Scope) {
	proxy := *s.proxy
	proxy.ModifyResponse = func(answer *http.Response) error {
		if answer.StatusCode != http.StatusOK {
			return nil
		}
		text, err := io.ReadAll(answer.Body)
		if err = errors.Join(err, answer.Body.Close()); err != nil {
			return err
		}
		if text, err = s.withoutEmpty(ctx, text, r, q, scope); err != nil {
			return err
		}
		answer.Body, answer.ContentLength = io.NopCloser(bytes.NewReader(text)), int64(len(text))
		answer.Header.Set("Content-Length", strconv.Itoa(len(text)))
		return nil
	}
	proxy.ServeHTTP(w, r)
}

// withoutEmpty leaves out the common prefixes of a list below which nothing is.
func (s *Service) withoutEmpty(ctx context.Context, text []byte, r *http.Request, q Request, scope wire.Scope) ([]byte, error) {
	var failed error
	dropped := 0
	text = commonPrefix.ReplaceAllFunc(text, func(element []byte) []byte {
		var is struct{ Prefix string }
		if failed != nil || xml.Unmarshal(element, &is) != nil {
			return element
		}
		if r.URL.Query().Get("encoding-type") == "url" {
			if plain, err := url.QueryUnescape(is.Prefix); err == nil {
				is.Prefix = plain
			}
		}
		holds, err := s.holds(ctx, q.Bucket, is.Prefix, r.Host, scope)
		if failed = err; err != nil || holds {
			return element
		}
		dropped++
		return nil
	})
	return keyCount.ReplaceAllFunc(text, func(element []byte) []byte {
		n, _ := strconv.Atoi(string(keyCount.FindSubmatch(element)[1])) // it is digits
		return fmt.Appendf(nil, "<KeyCount>%d</KeyCount>", n-dropped)
	}), failed
}

// holds asks the server whether a prefix has an object.
func (s *Service) holds(ctx context.Context, bucket, prefix, host string, scope wire.Scope) (bool, error) {
	query := url.Values{"list-type": {"2"}, "max-keys": {"1"}, "prefix": {prefix}}
	ask, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+host+"/"+bucket+"?"+strings.ReplaceAll(query.Encode(), "+", "%20"), nil)
	if err != nil {
		return false, err
	}
	ask.Header.Set("X-Amz-Content-Sha256", "UNSIGNED-PAYLOAD")
	if err := s.Signatures.Resign(ctx, ask, scope, time.Now()); err != nil {
		return false, err
	}
	answer, err := s.proxy.Transport.RoundTrip(ask)
	if err != nil {
		return false, err
	}
	defer func() { _ = answer.Body.Close() }() // it was only read
	var found struct {
		Contents []struct{ Key string }
	}
	if answer.StatusCode != http.StatusOK {
		return false, fmt.Errorf("list %s/%s: %s", bucket, prefix, answer.Status)
	}
	err = xml.NewDecoder(answer.Body).Decode(&found)
	return len(found.Contents) > 0, err
}
