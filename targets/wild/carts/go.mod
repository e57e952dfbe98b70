module example.com/carts

go 1.24

require github.com/jellydator/ttlcache/v3 v3.1.1

require golang.org/x/sync v0.1.0 // indirect
