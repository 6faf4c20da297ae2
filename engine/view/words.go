package view

import "strconv"

// Plural counts things in words: "1 room", "2 rooms".
func Plural(n int, what string) string {
	if n != 1 {
		what += "s"
	}
	return strconv.Itoa(n) + " " + what
}
