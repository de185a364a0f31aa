# docs.awk -v file=docs/x.md -v packed="README.md docs/x.md …" FILE: a document as it is in the package. Links to
# what is in the package lead there; links to other files of the repository become plain text.

# place gives the path of a file of the repository in the package, relative to the folder of the documents; it is empty
# if the package does not have the file.
function place(path) {
	if (path == "configs/bluez-esphome.yaml") return "/etc/bluez-esphome/bluez-esphome.yaml"
	if (path == "CHANGELOG.md") return "changelog.gz"
	if (path == "LICENSE") return "copyright"
	if (index(" " packed " ", " " path " ") == 0) return ""
	sub(/^docs\//, "", path)
	sub(/^configs\//, "", path)
	return path
}

# resolve gives a link's target as a path in the repository.
function resolve(target,   dir) {
	dir = file
	if (sub(/\/[^\/]*$/, "", dir) == 0) dir = ""
	while (sub(/^\.\.\//, "", target)) if (sub(/\/?[^\/]*$/, "", dir) == 0) dir = ""
	return dir == "" ? target : dir "/" target
}

{
	out = ""
	while (match($0, /!?\[[^]]*\]\([^)]*\)/)) {
		link = substr($0, RSTART, RLENGTH)
		out = out substr($0, 1, RSTART - 1)
		$0 = substr($0, RSTART + RLENGTH)
		image = substr(link, 1, 1) == "!"
		cut = index(link, "](")
		text = substr(link, 2 + image, cut - 2 - image)
		target = substr(link, cut + 2, length(link) - cut - 2)
		anchor = ""
		if (match(target, /#.*/)) { anchor = substr(target, RSTART); target = substr(target, 1, RSTART - 1) }
		if (target == "" || target ~ /^[a-z]+:/) { out = out link; continue }
		path = resolve(target)
		to = place(path)
		if (to != "") out = out (image ? "!" : "") "[" text "](" to anchor ")"
		else out = out (image ? "" : text)
	}
	print out $0
}
