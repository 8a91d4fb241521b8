// Package ext holds what other builds of traefik add to its configuration: nothing.
package ext

// HTTP is added to the HTTP configuration.
type HTTP struct{}

// Router is added to each router.
type Router struct{}
