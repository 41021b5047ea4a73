"""How findings are shown; the only place that scales units. Functions here return text and write nothing."""
