# Checks how long files and functions are, and what files are called.
# Usage: ctags ... --fields=+ne -f - | awk -f tests/limits.awk - FILE...
BEGIN {
    file_lines_max = 500
    function_lines_max = 70
    vague = "(^|[/_])(utils?|helpers?|common|managers?)([_.]|$)"
    FS = "\t"
    for (i = 1; i < ARGC; i++) {
        if (ARGV[i] ~ vague) complain(ARGV[i] ":1", "the name says nothing; name it after its duty")
    }
}

function complain(where, what) {
    printf "%s: %s\n", where, what
    bad = 1
}

function check_length(file, lines) {
    if (lines > file_lines_max)
        complain(file ":1", lines " lines; at most " file_lines_max ": split it by what it does")
}

# The tags of all functions come first, on standard input.
FILENAME == "-" || FILENAME == "" {
    if (match($0, /\tline:[0-9]+/)) first = substr($0, RSTART + 6, RLENGTH - 6) + 0; else next
    if (match($0, /\tend:[0-9]+/)) last = substr($0, RSTART + 5, RLENGTH - 5) + 0; else next
    if (last - first + 1 > function_lines_max)
        complain($2 ":" first, $1 " has " last - first + 1 " lines; at most " function_lines_max)
    next
}

FNR == 1 {
    if (previous != "") check_length(previous, lines)
    previous = FILENAME
}

{ lines = FNR }

END {
    if (previous != "") check_length(previous, lines)
    exit bad
}
