#include <iostream>

#include "tools/program.h"

int main(int argc, char** argv) {
    return kvfs::run_kvfs({argv + 1, argv + argc}, {std::cin, std::cout, std::cerr});
}
