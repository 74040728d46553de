package backend

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/diskbridge/diskbridge/pkg/fault"
	"github.com/diskbridge/diskbridge/pkg/volume"
)

// Paged cuts a cloud's pages into pages of any size. A token is "<skip>.<the cloud's token>":
// the cloud's page and how many of its entries were already given out.
func Paged[In, Out any](page volume.Page, fetch func(token string) ([]In, string, error), convert func(In) Out) ([]Out, string, error) {
	skip, token, err := splitToken(page.Token)
	if err != nil {
		return nil, "", fault.New(fault.Pending, "list", "", "%v; start the list again", err)
	}
	var out []Out
	for {
		items, next, err := fetch(token)
		if err != nil {
			if token != "" && fault.Is(err, fault.Invalid) {
				return nil, "", fault.New(fault.Pending, "list", "", "the cloud does not know the starting token (any more); start the list again")
			}
			return nil, "", fault.Wrap("list", "", err)
		}
		for i := min(skip, len(items)); i < len(items); i++ {
			if page.Max > 0 && len(out) == page.Max {
				return out, fmt.Sprintf("%d.%s", i, token), nil
			}
			out = append(out, convert(items[i]))
		}
		skip, token = 0, next
		if token == "" {
			return out, "", nil
		}
		if page.Max > 0 && len(out) == page.Max || page.Max == 0 && len(out) > 0 {
			return out, "0." + token, nil
		}
	}
}

func splitToken(s string) (skip int, token string, err error) {
	if s == "" {
		return 0, "", nil
	}
	number, token, ok := strings.Cut(s, ".")
	skip, err = strconv.Atoi(number)
	if !ok || err != nil || skip < 0 {
		return 0, "", fmt.Errorf("starting token %q is not one of ours", s)
	}
	return skip, token, nil
}
