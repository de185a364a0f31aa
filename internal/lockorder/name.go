package lockorder

import (
	"fmt"
	"strings"
)

func nameOf(r Rank) string {
	_, name, _ := strings.Cut(fmt.Sprintf("%T", r), ".")
	return name
}
