package volume

import "slices"

// Nearest returns the known word that a misspelt one most likely means, or "" if none is near: at most a third of its
// letters differ.
func Nearest(word string, known []string) string {
	best, bestDistance := "", len(word)/3+1
	for _, k := range slices.Sorted(slices.Values(known)) {
		if d := distance(word, k); d < bestDistance {
			best, bestDistance = k, d
		}
	}
	return best
}

// distance counts the bytes to insert, delete or replace.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := diagonal
			if a[i] != b[j] {
				cost = min(diagonal, row[j], row[j+1]) + 1
			}
			diagonal, row[j+1] = row[j+1], cost
		}
	}
	return row[len(b)]
}
