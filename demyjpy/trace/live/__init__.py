"""What watches a filter while it serves: recorder, flight recorder, capsules, the explain line."""
