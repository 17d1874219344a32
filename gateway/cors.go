package gateway

import (
	"net/http"
	"slices"

	connectcors "connectrpc.com/cors"
	"github.com/rs/cors"

	cajun "github.com/cajun-go/cajun/runtime"
)

// cross lets browsers call the gateway from the pages that the user has named.
func (h *handler) cross(next http.Handler) http.Handler {
	if len(h.config.origins) == 0 {
		return next
	}
	return cors.New(cors.Options{
		AllowedOrigins: h.config.origins,
		AllowedMethods: connectcors.AllowedMethods(),
		AllowedHeaders: slices.Concat(connectcors.AllowedHeaders(), []string{KeyHeader, cajun.IdempotencyKeyHeader, "Authorization"}, h.config.corsHeaders),
		ExposedHeaders: append(connectcors.ExposedHeaders(), cajun.ReplayedHeader),
		MaxAge:         7200, // seconds; browsers take no more
	}).Handler(next)
}
