"""Two filters in one service: a shadow that is only compared, a canary that answers for a share."""
