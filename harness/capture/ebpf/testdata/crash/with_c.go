//go:build withc

package main

// #include <pthread.h>
// static __thread long counted[24];
// static void *count(void *n) { for (long i = 0; i < (long)n; i++) counted[i % 24]++; return (void *)counted[0]; }
// static long in_thread(long n) {
//	pthread_t t;
//	void *out;
//	if (pthread_create(&t, 0, count, (void *)n) || pthread_join(t, &out))
//		return -1;
//	return (long)out;
// }
import "C"

import "time"

// C's own threads, which have thread-local variables beside Go's and no
// goroutine, begin and end all the time.
func init() {
	go func() {
		for {
			if C.in_thread(2400) != 100 {
				panic("C does not count")
			}
			time.Sleep(time.Millisecond)
		}
	}()
}
