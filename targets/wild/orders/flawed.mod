module example.com/orders

go 1.24

require github.com/sirupsen/logrus v1.7.0

require golang.org/x/sys v0.20.0 // indirect
