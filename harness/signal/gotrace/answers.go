package gotrace

// answers notes that the request, if there is one, begins to write of its
// response: in a system call, or where another goroutine does it for HTTP/2.
func (v *service) answers(now int64) {
	if v.open != nil {
		v.open.Answered(now)
	}
}
