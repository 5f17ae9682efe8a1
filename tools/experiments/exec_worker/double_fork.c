// The two forks of a worker's birth from the template. The process in the middle runs no Python.
#include <sys/wait.h>
#include <unistd.h>

int double_fork(void);

// 1 in the template, 0 in the worker.
int
double_fork(void)
{
    pid_t middle = fork();
    if (middle == 0) {
        if (fork() != 0)
            _exit(0);
        return 0;
    }
    waitpid(middle, 0, 0);
    return 1;
}
