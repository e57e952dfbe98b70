package account

// Exchange is one request and what came of it. Times are nanoseconds since the
// base of the Recorder that it is given to.
type Exchange struct {
	Seq    uint64 // its number in this process's attack
	Method string
	URL    string

	// Due is when the request should have left: in an open loop by the schedule,
	// in a closed loop when its place among those in flight became free. 0: when
	// it left.
	Due int64
	// Free is when a place in flight became free for it; 0: there always was one.
	Free  int64
	Sent  int64 // set by Recorder.Send
	Ended int64 // set by Recorder.End
	// Lay is how long the end of the response had lain ready before it was read, as
	// far as that is known. That is the generator's doing: it does not count as
	// service time, but as lag of the request that follows in the same place.
	Lay int64

	// Local is this machine's end of the connection, "127.0.0.1:43210"; empty where the
	// client does not tell.
	Local string

	Code     int // HTTP status; 0: no complete response
	BytesOut int64
	BytesIn  int64
	Failure  string // a kind, see KindOf; empty: a complete response, of whatever status

	// Behaviour is 0 for a well behaved request, i+1 for one of badly behaved client i.
	Behaviour int
	// Misbehaved says that the client ended the request by its own bad behaviour:
	// what came of it is no failure of the target.
	Misbehaved bool

	Checked bool   // the body was compared with the request
	Missing bool   // the request's own token was not in it
	Foreign string // what was seen of another request's token

	stage int // set by Recorder.Send
}

// OK says whether the response is complete and its status 200 to 399.
func (x *Exchange) OK() bool {
	return x.Failure == "" && x.Code >= 200 && x.Code < 400
}

// Arrived is when the end of the response had arrived at this machine, or when the
// request ended without one.
func (x *Exchange) Arrived() int64 { return x.Ended - min(max(x.Lay, 0), x.Ended-x.Sent) }

// ServiceNS is how long the request took from when it left until its response had
// arrived.
func (x *Exchange) ServiceNS() int64 { return x.Arrived() - x.Sent }

// SendLagNS is how long after it was due the request left.
func (x *Exchange) SendLagNS() int64 {
	if x.Due == 0 {
		return 0
	}
	return max(0, x.Sent-x.Due)
}

// OwnLagNS is the part of the send lag that is the generator's own doing: from
// when the request was due and a place was free.
func (x *Exchange) OwnLagNS() int64 {
	if x.Due == 0 {
		return 0
	}
	return max(0, x.Sent-max(x.Due, x.Free))
}

// CorrectedNS is how long the request took from when it was due.
func (x *Exchange) CorrectedNS() int64 { return x.ServiceNS() + x.SendLagNS() }

// timed says whether the request counts in the latencies; the package's
// documentation says why.
func (x *Exchange) timed() bool { return x.Failure == "" || isTimeout(x.Failure) }
