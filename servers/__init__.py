"""Who is managed: the servers, their credentials, and the one door through which they are commanded."""
