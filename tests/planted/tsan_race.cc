// Must fail in `make tsan`: proves that races are looked for.

#include <thread>

int main() {
    int counter = 0;
    std::thread other([&counter] { ++counter; });
    ++counter;
    other.join();
    return counter == 2 ? 0 : 2;
}
