// Must fail in `make asan`: proves that leaks are looked for.

#include <cstdlib>

int main() {
    static void* volatile hidden = nullptr;
    hidden = std::malloc(64);
    hidden = nullptr;
    return 0;
}
