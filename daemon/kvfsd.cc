#include <exception>

#include <cstdio>

#include "daemon/run.h"

int main(int argc, char** argv) {
    try {
        return kvfs::run_kvfsd({argv + 1, argv + argc});
    } catch (const std::exception& error) {  // out of memory, most likely
        std::fprintf(stderr, "kvfsd: %s\n", error.what());
        return 1;
    }
}
