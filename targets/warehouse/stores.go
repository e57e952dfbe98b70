package main

import (
	"fmt"
	"sync"
	"time"
)

// stores are the order book and the stock. What touches both takes both locks.
type stores struct {
	booking time.Duration // CPU time that a lock is held for

	book   sync.Mutex
	orders map[int]int // open, by item

	shelf sync.Mutex
	stock map[int]int // by item
}

// items is how many there are: requests are numbered without end, and the stores
// must not grow with them.
const items = 1000

func newStores(booking time.Duration) *stores {
	return &stores{booking: booking, orders: map[int]int{}, stock: map[int]int{}}
}

// order books an order, and takes the item from the stock if it is there.
func (s *stores) order(item int) string {
	item %= items
	s.book.Lock()
	defer s.book.Unlock()
	s.orders[item]++
	spend(s.booking)

	s.shelf.Lock()
	defer s.shelf.Unlock()
	if s.stock[item] > 0 {
		s.stock[item]--
		s.orders[item]--
	}
	return fmt.Sprintf("item %d is ordered", item)
}

// deliver puts an item into the stock, and gives it to who ordered it.
func (s *stores) deliver(item int) string {
	item %= items
	s.shelf.Lock()
	defer s.shelf.Unlock()
	s.stock[item]++
	spend(s.booking)

	s.book.Lock() // chokepoint:flaw stalled
	defer s.book.Unlock()
	s.settle(item)
	return fmt.Sprintf("item %d is delivered", item)
}

// receive is deliver with the locks in the order that an order takes them.
func (s *stores) receive(item int) string {
	item %= items
	s.book.Lock()
	defer s.book.Unlock()
	spend(s.booking)

	s.shelf.Lock()
	defer s.shelf.Unlock()
	s.stock[item]++
	s.settle(item)
	return fmt.Sprintf("item %d is delivered", item)
}

// settle gives an item to who ordered it. Both locks are held.
func (s *stores) settle(item int) {
	if s.orders[item] > 0 && s.stock[item] > 0 {
		s.orders[item]--
		s.stock[item]--
	}
}
