"""HTTP for both protocols: connections, requests, limits, access log. Knows no WSGI, no Django and no options."""
