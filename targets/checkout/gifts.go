package main

import (
	"context"
	"database/sql"
	"fmt"

	"chokepoint/targets/kit"
)

// gift is the line that pays for all of its cart. It is read before the others.
const gift = "gift"

// oneGiftIn is how many carts there are for each that holds one.
const oneGiftIn = 100

// due is what a cart costs with taxes, by the lines that must be paid for.
func (s *cartStore) due(payable func(cart int) ([]cartLine, error)) func(context.Context, int, *kit.Dependency) (int64, error) {
	return func(ctx context.Context, cart int, taxes *kit.Dependency) (int64, error) {
		lines, err := payable(cart)
		if err != nil {
			return 0, fmt.Errorf("read cart %d: %w", cart, err)
		}
		return total(ctx, lines, taxes)
	}
}

// payable are the lines of a cart that must be paid for. Behind a gift nothing is
// read any more.
func (s *cartStore) payable(cart int) (lines []cartLine, err error) {
	rows, err := s.db.Query(selectLines, cart) // chokepoint:flaw pool-exhaustion
	if err != nil {
		return nil, err
	}
	lines, given, err := untilGift(rows)
	if err != nil || given {
		return nil, err
	}
	return lines, rows.Close()
}

// payableLines is payable, and gives the connection back whatever is read.
func (s *cartStore) payableLines(cart int) (lines []cartLine, err error) {
	rows, err := s.db.Query(selectLines, cart)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	lines, given, err := untilGift(rows)
	if err != nil || given {
		return nil, err
	}
	return lines, nil
}

// untilGift reads lines until there are no more, or one is a gift.
func untilGift(rows *sql.Rows) (lines []cartLine, given bool, err error) {
	for rows.Next() {
		var l cartLine
		if err := rows.Scan(&l.sku, &l.quantity, &l.cents); err != nil {
			return nil, false, err
		}
		if l.sku == gift {
			return nil, true, nil
		}
		lines = append(lines, l)
	}
	return lines, false, rows.Err()
}
