// Must fail in `make asan`: proves that leaks are looked for.

#include <cstdlib>

namespace {
void* volatile hidden = nullptr;
}

int main() {
    hidden = std::malloc(64);
    hidden = nullptr;
    return hidden == nullptr ? 0 : 2;
}
