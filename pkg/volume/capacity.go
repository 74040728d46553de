package volume

import (
	"fmt"
	"math"
)

// GiB is the number of bytes in one gibibyte.
const GiB int64 = 1 << 30

// Range is what a caller accepts as capacity, both in bytes; zero means "no bound".
type Range struct {
	RequiredBytes int64
	LimitBytes    int64
}

// SizeGiB returns the smallest whole number of GiB that satisfies the range, or
// defaultGiB (cut to the limit) where nothing is required. The error names the
// field that makes it impossible.
func (r Range) SizeGiB(defaultGiB int64) (int64, error) {
	if err := r.check(); err != nil {
		return 0, err
	}
	if r.LimitBytes > 0 && r.LimitBytes < GiB {
		return 0, fmt.Errorf("limit_bytes %d is less than 1 GiB, the smallest disk", r.LimitBytes)
	}
	size := defaultGiB
	if r.RequiredBytes > 0 {
		size = CeilGiB(r.RequiredBytes)
	}
	if r.LimitBytes > 0 && size > r.LimitBytes/GiB {
		if r.RequiredBytes > 0 {
			return 0, fmt.Errorf("no whole number of GiB lies between required_bytes %d and limit_bytes %d", r.RequiredBytes, r.LimitBytes)
		}
		size = r.LimitBytes / GiB
	}
	if size > math.MaxInt64/GiB {
		return 0, fmt.Errorf("required_bytes %d is more than any disk has", r.RequiredBytes)
	}
	return size, nil
}

func (r Range) check() error {
	switch {
	case r.RequiredBytes < 0 || r.LimitBytes < 0:
		return fmt.Errorf("required_bytes %d and limit_bytes %d must not be negative", r.RequiredBytes, r.LimitBytes)
	case r.LimitBytes > 0 && r.RequiredBytes > r.LimitBytes:
		return fmt.Errorf("required_bytes %d is more than limit_bytes %d", r.RequiredBytes, r.LimitBytes)
	}
	return nil
}

// Agreed returns the size in bytes to agree on for what has none itself, a file system
// that grows or a bucket: what is required, or up to 1 GiB where nothing is.
func (r Range) Agreed() (int64, error) {
	switch {
	case r.RequiredBytes > 0:
		return r.RequiredBytes, r.check()
	case r.LimitBytes > 0:
		return min(r.LimitBytes, GiB), r.check()
	}
	return GiB, r.check()
}

// Fits reports whether a disk of the given size in bytes satisfies the range.
func (r Range) Fits(bytes int64) bool {
	return bytes >= r.RequiredBytes && (r.LimitBytes == 0 || bytes <= r.LimitBytes)
}

// CeilGiB converts bytes to GiB, rounding up. It does not overflow.
func CeilGiB(bytes int64) int64 {
	size := bytes / GiB
	if bytes%GiB > 0 {
		size++
	}
	return size
}
