# Checks that an include goes down or stays in its folder: never up, never sideways.
# Usage: awk -f tests/floors.awk FILE...     from the root of the repository
#
# The floors, lowest first. A folder sees itself and those named on its line, no others.
BEGIN {
    base = "include fs/base"
    sees["include"]   = ""
    sees["fs/base"]   = ""
    sees["fs/io"]     = base
    sees["fs/store"]  = base " fs/io"
    sees["fs/cache"]  = base " fs/io fs/store"
    sees["fs/names"]  = base " fs/io fs/store"
    sees["fs/files"]  = base " fs/io fs/store fs/cache fs/names"
    sees["fs/fuse"]   = base " fs/io fs/store fs/cache fs/names fs/files"
    sees["fs/mapper"] = base " fs/io fs/store fs/cache fs/names fs/files"
    sees["gpumap"]    = base " fs/io"
    sees["tools"]     = base " fs/io fs/store fs/cache fs/names fs/files"
    sees["daemon"]    = base " fs/io fs/store fs/cache fs/names fs/files fs/fuse fs/mapper"

    # Libraries that one folder alone may include.
    only["liburing"] = "fs/io"
    only["fuse"]     = "fs/fuse"

    standard_c = "^(assert|ctype|errno|float|inttypes|limits|locale|math|setjmp|signal|stdarg|" \
                 "stdbool|stddef|stdint|stdio|stdlib|string|time|wchar)[.]h$"
}

function folder_of(path) {
    if (path ~ /^fs\//) return match(path, /^fs\/[^\/]+\//) ? substr(path, 1, RLENGTH - 1) : "fs"
    return match(path, /^[^\/]+\//) ? substr(path, 1, RLENGTH - 1) : ""
}

function exists(path,    line, found) {
    found = (getline line < path) >= 0
    close(path)
    return found
}

function complain(what) {
    printf "%s:%d: %s\n", FILENAME, FNR, what
    bad = 1
}

FNR == 1 {
    here = folder_of(FILENAME)
    if (here != "tests" && !(here in sees))
        complain("folder " here " has no floor; give it one in tests/floors.awk")
}

here == "tests" || !/^[ \t]*#[ \t]*include[ \t]*[<"]/ { next }

{
    quoted = /^[^<]*"/
    target = $0
    gsub(/^[^<"]*[<"]|[>"].*$/, "", target)
    library = target
    gsub(/[0-9]*([\/._].*)?$/, "", library)

    if (target ~ /\.\.\//) {
        complain("include \"" target "\": write the path from the root of the repository")
        next
    }
    if (target !~ /^include\// && exists("include/" target)) target = "include/" target
    there = folder_of(target)
    if (quoted && there == "") there = here
    if (!(there in sees) && there != "tests") {
        if (library in only && only[library] != here)
            complain("include <" target ">: only " only[library] " may include " library)
        if (here == "include" && (target ~ /\// || (target ~ /[.]/ && target !~ standard_c)))
            complain("include <" target ">: include/ sees nothing but the standard library")
        if (quoted)
            complain("include \"" target "\": no such folder has a floor (tests/floors.awk)")
        next
    }
    if (there != here && !index(" " sees[here] " ", " " there " "))
        complain("include of " target ": " here " does not see " there)
}

END { exit bad }
