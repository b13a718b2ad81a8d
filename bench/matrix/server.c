/* A server in C that has never heard of overseer: a thread for each connection, one request on each.
   It takes descriptor 3; after SIGTERM it answers what it has accepted, and ends. */
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

static int leaving[2];
static int busy;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t idle = PTHREAD_COND_INITIALIZER;

static void leave(int number) {
    (void)number;
    if (write(leaving[1], "!", 1) < 0)
        _exit(1);
}

/* Read a whole request: its head, and as much body as the head says. */
static void take(int fd) {
    char text[65536];
    size_t have = 0;
    char *end = NULL;
    while (have < sizeof text - 1 && !end) {
        ssize_t more = read(fd, text + have, sizeof text - 1 - have);
        if (more <= 0)
            return;
        have += (size_t)more;
        text[have] = 0;
        end = strstr(text, "\r\n\r\n");
    }
    if (!end)
        return;
    long body = 0;
    for (char *line = strstr(text, "\r\n"); line && line < end; line = strstr(line + 2, "\r\n"))
        if (!strncasecmp(line + 2, "Content-Length:", 15))
            body = atol(line + 17);
    body -= (long)(text + have - (end + 4));
    char rest[65536];
    while (body > 0) {
        ssize_t more = read(fd, rest, sizeof rest);
        if (more <= 0)
            return;
        body -= more;
    }
    static const char answer[] = "HTTP/1.1 200 OK\r\nContent-Length: 6\r\nConnection: close\r\n\r\nhello\n";
    if (write(fd, answer, sizeof answer - 1) < 0)
        perror("write");
}

static void *serve(void *given) {
    int fd = (int)(long)given;
    take(fd);
    shutdown(fd, SHUT_WR);
    char last[256];
    while (read(fd, last, sizeof last) > 0) /* else what is unread would reset the connection */
        ;
    close(fd);
    pthread_mutex_lock(&lock);
    if (--busy == 0)
        pthread_cond_signal(&idle);
    pthread_mutex_unlock(&lock);
    return NULL;
}

int main(void) {
    if (pipe(leaving))
        return 1;
    signal(SIGTERM, leave);
    signal(SIGPIPE, SIG_IGN);
    struct pollfd wait[2] = {{.fd = 3, .events = POLLIN}, {.fd = leaving[0], .events = POLLIN}};
    for (;;) {
        if (poll(wait, 2, -1) < 0 && errno != EINTR)
            return 1;
        if (wait[1].revents)
            break;
        int fd = accept(3, NULL, NULL); /* its other generation may have been quicker: the flag says no waiting */
        if (fd < 0)
            continue;
        pthread_t thread;
        pthread_mutex_lock(&lock);
        busy++;
        pthread_mutex_unlock(&lock);
        if (pthread_create(&thread, NULL, serve, (void *)(long)fd))
            return 1;
        pthread_detach(thread);
    }
    pthread_mutex_lock(&lock);
    while (busy)
        pthread_cond_wait(&idle, &lock);
    pthread_mutex_unlock(&lock);
    return 0;
}
