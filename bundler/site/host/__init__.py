"""This machine outside the site's root: what a site has to change there, each change noted so that it can be undone.

Distributions differ here and nowhere else: who opens ports, whether SELinux wants labels, how accounts are made.
"""
