package dbusobj

import "strings"

// maxDepth is how deep arrays, and structures, may nest each.
const maxDepth = 32

// typeLen is the length of the complete type at the start of sig, 0 if there is none.
func typeLen(sig string) int { return typeLenAt(sig, 0, 0, false) }

func typeLenAt(sig string, arrays, structs int, entry bool) int {
	if sig == "" {
		return 0
	}
	c := sig[0]
	switch {
	case isBasic(c) || c == 'v':
		return 1
	case c == 'a':
		if arrays >= maxDepth {
			return 0
		}
		if n := typeLenAt(sig[1:], arrays+1, structs, true); n > 0 {
			return n + 1
		}
	case c == '(' && structs < maxDepth:
		i := 1
		for i < len(sig) && sig[i] != ')' {
			n := typeLenAt(sig[i:], arrays, structs+1, false)
			if n == 0 {
				return 0
			}
			i += n
		}
		if i > 1 && i < len(sig) {
			return i + 1
		}
	case c == '{' && entry && structs < maxDepth:
		if len(sig) < 4 || !isBasic(sig[1]) {
			return 0
		}
		n := typeLenAt(sig[2:], arrays, structs+1, false)
		if n > 0 && 2+n < len(sig) && sig[2+n] == '}' {
			return n + 3
		}
	}
	return 0
}

func isBasic(c byte) bool { return strings.IndexByte("ybnqiuxtdsogh", c) >= 0 }

// validSingle says whether sig is exactly one complete type.
func validSingle(sig string) bool {
	return len(sig) <= 255 && sig != "" && typeLen(sig) == len(sig)
}

// validSignature says whether sig is a sequence of complete types, possibly empty.
func validSignature(sig string) bool {
	if len(sig) > 255 {
		return false
	}
	for sig != "" {
		n := typeLen(sig)
		if n == 0 {
			return false
		}
		sig = sig[n:]
	}
	return true
}

// alignmentOf is the alignment of a type that starts with c.
func alignmentOf(c byte) int {
	switch c {
	case 'n', 'q':
		return 2
	case 'b', 'i', 'u', 's', 'o', 'a', 'h':
		return 4
	case 'x', 't', 'd', '(', '{':
		return 8
	}
	return 1
}

// validPath says whether p is an object path.
func validPath(p string) bool {
	if p == "/" {
		return true
	}
	if p == "" || p[0] != '/' || p[len(p)-1] == '/' {
		return false
	}
	for i := 1; i < len(p); i++ {
		if c := p[i]; !isWord(c) && (c != '/' || p[i-1] == '/') {
			return false
		}
	}
	return true
}

func isWord(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '_'
}

// validMember says whether s can be the name of a method or signal.
func validMember(s string) bool {
	if s == "" || len(s) > 255 || s[0] >= '0' && s[0] <= '9' {
		return false
	}
	for i := range len(s) {
		if !isWord(s[i]) {
			return false
		}
	}
	return true
}

// validName says whether s can be the name of an interface or error.
func validName(s string) bool {
	if len(s) > 255 || !strings.Contains(s, ".") {
		return false
	}
	for part := range strings.SplitSeq(s, ".") {
		if !validMember(part) {
			return false
		}
	}
	return true
}
